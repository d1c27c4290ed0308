import auraloss
import pytest
import torch

from fxst.training.losses import StyleLoss

WINDOWS = (32, 128, 512, 2048)


@pytest.fixture
def signals():
    generator = torch.Generator().manual_seed(0)
    output, target = 0.1 * torch.randn(2, 3, 1, 12_720, generator=generator, dtype=torch.float64)
    return output.requires_grad_(), target


def test_the_spectral_distance_and_its_gradient_are_auraloss_own(signals):
    output, target = signals
    ours = StyleLoss(windows=WINDOWS, hop=256, mae_weight=1.0).double()(output, target)[1]
    plain = auraloss.freq.MultiResolutionSTFTLoss(
        list(WINDOWS), [256] * 4, list(WINDOWS), w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0
    ).double()
    for resolution in plain.stft_losses:
        resolution.window = resolution.window.double()
    theirs = plain(output, target)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(loss, output)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-9)


def test_the_error_in_time_is_the_mean_absolute_one(signals):
    output, target = signals
    mae, _ = StyleLoss(windows=WINDOWS, hop=256, mae_weight=1.0).double()(output + 0.25 - output.detach(), 0 * target)
    torch.testing.assert_close(mae, torch.tensor(0.25, dtype=torch.float64))


def test_a_signal_is_at_no_distance_from_itself(signals):
    _, target = signals
    assert StyleLoss(windows=WINDOWS, hop=256, mae_weight=1.0).double()(target, target) == (0, 0)
