// A report: one player an entry.
(() => {
  for (const entry of document.querySelectorAll(".entry")) new Player(entry);

  // On a phone the first player is on the first screen.
  const overview = document.querySelector(".overview");
  const player = document.querySelector(".player");
  const narrow = matchMedia("(max-width: 40rem)");
  if (overview && player && narrow.matches && player.getBoundingClientRect().bottom > innerHeight) {
    overview.open = false;
    narrow.addEventListener("change", () => { overview.open ||= !narrow.matches; });
  }

  // The Tab key stops at a table only if it scrolls.
  const sizes = new ResizeObserver((boxes) => {
    for (const { target } of boxes) {
      if (target.scrollWidth > target.clientWidth) target.setAttribute("tabindex", "0");
      else target.removeAttribute("tabindex");
    }
  });
  for (const box of document.querySelectorAll(".scroll")) sizes.observe(box);

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
