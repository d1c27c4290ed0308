-- fxst for REAPER: renders the source of each selected item with `fxst apply` and a reference that you choose.
-- The result becomes a new take, so that the item's edges, fades and position stay, and the old take is kept.
--
-- To install: Actions > Show action list > New action > Load ReaScript, and choose this file.

local PROGRAM = "fxst" -- a full path, such as "/home/me/.local/bin/fxst", if REAPER does not find it
local MINUTES = 30 -- before a command is given up

local function tell(text)
  reaper.ShowMessageBox(text, "fxst", 0)
end

-- REAPER splits a command at spaces outside double quotes, and has no escape for a double quote.
local function quoted(word)
  if word:find('"') then error({ text = "fxst cannot pass on a file name with a double quote: " .. word }) end
  return '"' .. word .. '"'
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function unused(path)
  local stem = path:gsub("%.[^./\\]*$", "")
  for number = 1, 9999 do
    local name = string.format("%s-fxst-%d.wav", stem, number)
    if not exists(name) then return name end
  end
  error({ text = "There are too many results beside " .. path })
end

local function rendered(source, options)
  local output = unused(source)
  local words = { quoted(PROGRAM), "apply", quoted(source) }
  for _, word in ipairs(options) do words[#words + 1] = word end
  words[#words + 1] = "--format quiet -o " .. quoted(output)
  local answer = reaper.ExecProcess(table.concat(words, " "), MINUTES * 60000)
  if not answer then error({ text = "The program fxst did not start: set PROGRAM in this script to its path." }) end
  local code, said = answer:match("^(-?%d+)\n?(.*)$")
  if code ~= "0" or not exists(output) then error({ text = said ~= "" and said or "fxst failed with code " .. code }) end
  return output
end

local function add_take(item, take, output)
  local source = reaper.PCM_Source_CreateFromFile(output)
  local new = reaper.AddTakeToMediaItem(item)
  reaper.SetMediaItemTake_Source(new, source)
  for _, name in ipairs({ "D_STARTOFFS", "D_PLAYRATE", "B_PPITCH", "D_PITCH", "I_CHANMODE", "D_PAN" }) do
    reaper.SetMediaItemTakeInfo_Value(new, name, reaper.GetMediaItemTakeInfo_Value(take, name))
  end
  reaper.GetSetMediaItemTakeInfo_String(new, "P_NAME", output:match("[^/\\]+$"), true)
  reaper.SetActiveTake(new)
end

local function run()
  local count = reaper.CountSelectedMediaItems(0)
  if count == 0 then error({ text = "Select an item first." }) end
  local chosen, reference = reaper.GetUserFileNameForRead("", "Reference: the recording to sound like", "")
  if not chosen then return end
  local answered, given = reaper.GetUserInputs("fxst", 2, "Amount of the style (%),Loudness (LUFS; empty: as rendered)", "100,")
  if not answered then return end
  local amount, loudness = given:match("^%s*([%d.]+)%s*,%s*(-?[%d.]*)%s*$")
  if not amount then error({ text = "Give the amount in percent, and the loudness as a number or not at all." }) end
  local style = reference:lower():match("%.json$") and "--style" or "--ref"
  local options = { style, quoted(reference), "--amount", amount }
  if loudness ~= "" then options[#options + 1] = "--loudness " .. loudness end
  for index = 0, count - 1 do
    local item = reaper.GetSelectedMediaItem(0, index)
    local take = reaper.GetActiveTake(item)
    if not take or reaper.TakeIsMIDI(take) then error({ text = "Item " .. index + 1 .. " holds no audio." }) end
    local source = reaper.GetMediaItemTake_Source(take)
    if reaper.GetMediaSourceParent(source) then
      error({ text = "Item " .. index + 1 .. " is a section or reversed: glue it first." })
    end
    add_take(item, take, rendered(reaper.GetMediaSourceFileName(source, ""), options))
  end
end

reaper.Undo_BeginBlock()
local fine, problem = pcall(run)
reaper.Undo_EndBlock("fxst apply", -1)
reaper.UpdateArrange()
if not fine then tell(type(problem) == "table" and problem.text or tostring(problem)) end
