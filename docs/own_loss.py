"""A loss of one's own: `fxst --effects docs/own_loss.py style train data --loss log-spectrum`."""

import torch

from fxst.training.declarations import declare_loss


@declare_loss("log-spectrum")
def log_spectrum(output, target, *, sample_rate):
    """Compare levels in frames of 20 ms, and the waveforms."""
    window = torch.hann_window(round(0.02 * sample_rate), device=output.device)
    output_db, target_db = (
        20 * torch.stft(x, len(window), window=window, return_complex=True).abs().clamp_min(1e-4).log10()
        for x in (output, target)
    )
    return {"spectrum": (output_db - target_db).abs().mean() / 20, "waveform": (output - target).abs().mean()}
