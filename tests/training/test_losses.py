import pytest
import torch

from fxst.dsp.stft import mr_stft
from fxst.training import losses
from fxst.training.losses import SpectralDistance, StyleLoss
from fxst.training.studio import StudioLoss

WINDOWS = (32, 128, 512, 2048)


@pytest.fixture
def signals():
    generator = torch.Generator().manual_seed(0)
    output, target = 0.1 * torch.randn(2, 3, 1, 12_720, generator=generator, dtype=torch.float64)
    return output.requires_grad_(), target


def assert_alike(ours, theirs, output):
    """The same distance, and the same gradient by the output."""
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    gradients = [torch.autograd.grad(3 * loss, output)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6 * float(gradients[1].abs().max()))


@pytest.mark.parametrize(("windows", "hop"), [(WINDOWS, 256), ((2, 33, 1999), 200), ((600,), 601)])
@pytest.mark.parametrize("rows_a_block", [1, 2, 100])
def test_the_spectral_distance_and_its_gradient_are_auraloss_own(signals, monkeypatch, windows, hop, rows_a_block):
    output, target = signals
    monkeypatch.setattr(losses, "BLOCK_SAMPLES", rows_a_block * windows[-1] * (12_720 // hop + 1))
    ours = StyleLoss(windows=windows, hop=hop, mae_weight=1.0).double()(output, target)[1]
    assert_alike(ours, mr_stft(windows, hops=[hop] * len(windows))(output, target), output)


def test_that_of_studio_is_auraloss_own_too(signals):
    output, target = signals
    ours = StudioLoss().double()(output[:, 0], target[:, 0], sample_rate=24_000)["stft"]
    windows = StudioLoss.WINDOWS
    assert_alike(ours, mr_stft(windows, hops=[window // 2 for window in windows])(output, target), output)


def test_bins_under_the_floor_are_at_no_distance_and_pull_nowhere(signals):
    output, target = signals
    silence = 1e-7 * output.detach()
    silence.requires_grad_()
    loss = StyleLoss(windows=WINDOWS, hop=256, mae_weight=0.0).double()
    assert loss(silence, 1e-7 * target)[1] == 0
    loss(silence, target)[1].backward()
    assert (silence.grad == 0).all()


def test_the_error_in_time_is_the_mean_absolute_one(signals):
    output, target = signals
    mae, _ = StyleLoss(windows=WINDOWS, hop=256, mae_weight=1.0).double()(output + 0.25 - output.detach(), 0 * target)
    torch.testing.assert_close(mae, torch.tensor(0.25, dtype=torch.float64))


def test_a_signal_is_at_no_distance_from_itself(signals):
    _, target = signals
    assert StyleLoss(windows=WINDOWS, hop=256, mae_weight=1.0).double()(target, target) == (0, 0)


def test_the_distance_of_centroids_and_its_gradient_are_those_of_mean_magnitudes(signals):
    output, target = signals[0][:, 0], signals[1][:, 0].cumsum(-1)
    ours = SpectralDistance((128, 2048), hops=(64, 1024), centroid_window=2048).double()(output, target)[1]

    def centroid(x):
        window = torch.hann_window(2048, dtype=x.dtype)
        spectrum = torch.stft(x, 2048, 1024, window=window, pad_mode="reflect", return_complex=True)
        magnitude = spectrum.abs().clamp_min(1e-4)
        share = torch.linspace(0, 1, 1025, dtype=x.dtype)[:, None]
        return ((magnitude * share).sum(1) / magnitude.sum(1)).mean(-1)

    assert ours > 0.1
    assert_alike(ours, (centroid(output) - centroid(target)).abs().mean(), signals[0])


def test_a_device_measures_as_the_processor_does(signals, monkeypatch):
    loss = SpectralDistance(WINDOWS, hops=[256] * 4).double()
    output, target = (x[:, 0] for x in signals)
    on_processor = loss(output, target)[0]
    monkeypatch.setattr(losses, "_compare", losses._compare_in_torch)
    monkeypatch.setattr(
        losses,
        "_add_frames",
        lambda frames, window, hop, result: losses._add_frames_in_torch(
            *(torch.from_numpy(x) for x in (frames, window)), hop, torch.from_numpy(result)
        ),
    )
    assert_alike(loss(output, target)[0], on_processor, signals[0])


def test_single_precision_gives_the_distance_and_the_gradient_of_double(signals):
    output, target = (x[:, 0] for x in signals)
    loss = SpectralDistance(WINDOWS, hops=[256] * 4)
    single = output.detach().float().requires_grad_()
    found, want = loss(single, target.float())[0], loss.double()(output, target)[0]
    torch.testing.assert_close(found.double(), want, rtol=1e-6, atol=0)
    (grad,) = torch.autograd.grad(found, single)
    (want_grad,) = torch.autograd.grad(want, output)
    off = (grad - want_grad).norm() / want_grad.norm()
    assert off < 1e-3  # where two magnitudes are equal but for rounding, the sign of their difference is chance
