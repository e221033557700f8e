"""Precision of the frame-wise fit against the Cramér-Rao bound.

    python benchmarks/fit_precision.py [--emitters 4000] [--part isolated|pairs|dense|limit]

Isolated emitters: root-mean-square error and bias over the bound, standard deviation of error over
reported uncertainty, for each camera, background and number of photons. Pairs: the same for two
equal emitters at distances from 1 to 4 standard deviations, over the bound for two. Dense: emitters
at random places, found with an error of a third of a pixel; chi-square of the fitted position
modulo the pixel, and what the uncertainties say of the errors. Limit: where light is short, the
mean of the posterior over place, photons and background beside the fit; no estimator has a smaller
mean square error if nothing is known beforehand. The PSF is a Gaussian of 1.3 px and the background
10 photons per pixel unless the table says otherwise. Errors are along x and y together.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtr
from scipy.stats import chi2

from hdsmlm.config.fitting import FitConfig
from hdsmlm.fitting.frame_fit import fit_frames
from hdsmlm.fitting.likelihood import poisson_data
from hdsmlm.imaging.camera import Camera, EmccdCamera, IdealCamera, ScmosCamera
from hdsmlm.imaging.fisher import EmitterModel, cramer_rao_bound
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf
from hdsmlm.records.emitters import Emitters

PIXEL_NM = 100.0
BACKGROUND = 10.0
GAUSSIAN = GaussianPsf(1.3)
FIXED_COUNT = FitConfig(choose_count=False, region_sigmas=4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emitters", type=int, default=4000, help="per row of a table")
    parser.add_argument("--part", choices=["isolated", "pairs", "dense", "limit"], default=None)
    options = parser.parse_args()
    parts = {"isolated": isolated, "pairs": pairs, "dense": dense, "limit": limit}
    for name in [options.part] if options.part else list(parts):
        parts[name](options.emitters)


def cameras(size: int) -> dict[str, Camera]:
    """Return one camera of each kind; the sCMOS chip has uneven pixels."""
    rng = np.random.default_rng(9)
    gain = 2.0 * rng.normal(1, 0.02, (size, size))
    return {
        "ideal": IdealCamera(0.9, 1.0, 100.0),
        "EMCCD": EmccdCamera(0.9, 200.0, 60.0, 0.002, 45.0, 100.0),
        "sCMOS": ScmosCamera(
            quantum_efficiency=0.8,
            gain_adu_per_e=gain,
            offset_adu=rng.normal(100, 2, (size, size)),
            variance_adu2=(gain * 1.6 * np.exp(rng.normal(0, 0.4, (size, size)))) ** 2,
            dark_e=0.0,
        ),
    }


class Trial:
    """The same emitters in many frames, shifted at random within a pixel, and their fit."""

    def __init__(
        self,
        psf: Psf,
        camera: Camera,
        place: np.ndarray,
        photons: float,
        n: int,
        size: int,
        background: float = BACKGROUND,
    ) -> None:
        rng = np.random.default_rng(int(photons) + len(place))
        k = len(place)
        shift = np.zeros((n, 1, 3))
        shift[:, 0, :2] = rng.uniform(-0.5, 0.5, (n, 2))
        truth = (place[None] + shift).reshape(-1, 3)
        frame = np.repeat(np.arange(n), k)
        stack = np.full((n, size, size), background)
        psf.add_to(stack, frame, truth, np.full(n * k, float(photons)))
        data = poisson_data(camera.sample(stack, rng), camera)
        start = truth[:, :2] + rng.normal(0, 0.3, (n * k, 2))
        found = Emitters(
            {
                "frame": frame,
                "x_nm": start[:, 0] * PIXEL_NM,
                "y_nm": start[:, 1] * PIXEL_NM,
                "emitter_id": np.arange(n * k),
            }
        )
        rows = fit_frames(found, data, psf, PIXEL_NM, FIXED_COUNT).localizations
        rows = rows.select(np.argsort(rows["emitter_id"]))
        self.rows, self.data, self.truth = rows, data, truth
        self.error = np.stack([rows["x_nm"], rows["y_nm"]], axis=1) - truth[:, :2] * PIXEL_NM
        uncertainty = np.stack([rows["uncertainty_x_nm"], rows["uncertainty_y_nm"]], axis=1)
        self.z_score = self.error / uncertainty
        # the bound depends on where in the pixel the emitters lie: the mean over the shifts
        bounds = []
        for one in truth.reshape(n, k, 3)[:: max(n // 50, 1)]:
            model = EmitterModel(one, np.full(k, float(photons)), background)
            bound = cramer_rao_bound(model, psf, camera, (size, size))
            bounds.append(np.square(np.stack([bound.x_px, bound.y_px], axis=1)) * PIXEL_NM**2)
        self.bound = np.sqrt(np.mean(bounds, axis=(0, 1)))


def isolated(n: int) -> None:
    print("isolated emitters; background in photons per pixel")
    print(
        "psf        camera background photons  bound nm  rmse/bound  bias/bound  z-score sd  "
        "photons/true"
    )
    psfs = {"gaussian": GAUSSIAN, "astigmatic": AstigmaticPsf(1.3, 250.0, 400.0)}
    cases = [
        (name, psf, kind, background)
        for name, psf in psfs.items()
        for kind in ("ideal", "EMCCD", "sCMOS")
        for background in (2.0, 5.0, BACKGROUND)
    ]
    for psf_name, psf, kind, background in cases:
        size = 17 if psf.is_3d else 13
        place = np.array([[size / 2, size / 2, 80.0 if psf.is_3d else 0.0]])
        for photons in (150, 300, 1000, 3000, 10_000):
            trial = Trial(psf, cameras(size)[kind], place, photons, n, size, background)
            error, bound = trial.error, trial.bound
            rmse = np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(bound**2))
            bias = np.abs(error.mean(axis=0) / bound).max()
            print(
                f"{psf_name:10s} {kind:6s} {background:10.0f} {photons:7d} {bound.mean():9.2f} "
                f"{rmse:11.3f} {bias:11.3f} {trial.z_score.std():11.3f} "
                f"{trial.rows['photons'].mean() / photons:13.3f}"
            )


def pairs(n: int) -> None:
    print("two emitters of equal photons, x along the line that joins them")
    print("camera photons  d/sigma  bound x  bound y nm  rmse/bound x  y      z-score sd x  y")
    for photons in (1000, 5000):
        for sigmas in (1.0, 1.5, 2.0, 3.0, 4.0):
            half = 0.65 * sigmas
            place = np.array([[8.5 - half, 8.5, 0.0], [8.5 + half, 8.5, 0.0]])
            for name, camera in cameras(17).items():
                trial = Trial(GAUSSIAN, camera, place, photons, n // 2, 17)
                ratio = np.sqrt(np.mean(trial.error**2, axis=0)) / trial.bound
                spread = trial.z_score.std(axis=0)
                print(
                    f"{name:6s} {photons:7d} {sigmas:8.1f} {trial.bound[0]:8.2f} "
                    f"{trial.bound[1]:10.2f} {ratio[0]:13.3f} {ratio[1]:6.3f} "
                    f"{spread[0]:10.3f} {spread[1]:6.3f}"
                )


def dense(n: int) -> None:
    print("dense EMCCD frames of 64x64 px, 2000 photons; positions modulo the pixel, 20 bins")
    print("density /um2  emitters  chi2(19)  p-value  rmse nm  median bound nm  z-score mad sd")
    size, rng = 64, np.random.default_rng(4)
    camera = cameras(size)["EMCCD"]
    for density in (1.0, 2.0, 4.0):
        per_frame = density * (size * PIXEL_NM / 1000) ** 2
        n_frames = max(int(n / per_frame), 2)
        frame = np.repeat(np.arange(n_frames), rng.poisson(per_frame, n_frames))
        truth = np.column_stack([rng.uniform(0, size, (len(frame), 2)), np.zeros(len(frame))])
        stack = np.full((n_frames, size, size), BACKGROUND)
        GAUSSIAN.add_to(stack, frame, truth, np.full(len(frame), 2000.0))
        data = poisson_data(camera.sample(stack, rng), camera)
        start = np.clip(truth[:, :2] + rng.normal(0, 0.35, (len(frame), 2)), 0, size - 0.01)
        found = Emitters(
            {
                "frame": frame,
                "x_nm": start[:, 0] * PIXEL_NM,
                "y_nm": start[:, 1] * PIXEL_NM,
                "emitter_id": np.arange(len(frame)),
            }
        )
        config = FitConfig(choose_count=False)
        rows = fit_frames(found, data, GAUSSIAN, PIXEL_NM, config).localizations
        rows = rows.select(np.argsort(rows["emitter_id"]))
        inside = ((truth[:, :2] > 5) & (truth[:, :2] < size - 5)).all(axis=1)
        xy = np.stack([rows["x_nm"], rows["y_nm"]], axis=1)[inside]
        counts = np.histogram((xy / PIXEL_NM).ravel() % 1, bins=20, range=(0, 1))[0]
        statistic = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
        error = xy - truth[inside, :2] * PIXEL_NM
        spread = np.stack([rows["uncertainty_x_nm"], rows["uncertainty_y_nm"]], axis=1)[inside]
        print(
            f"{density:12.1f} {len(frame):9d} {statistic:9.1f} {chi2.sf(statistic, 19):8.3f} "
            f"{np.sqrt(np.mean(error**2)):8.1f} {np.median(spread):16.1f} "
            f"{1.4826 * np.median(np.abs(error / spread)):15.2f}"
        )


def limit(n: int) -> None:
    n = min(n, 1500)
    print(f"150 photons on {BACKGROUND:g} per pixel, {n} emitters; rmse over the bound, z-score sd")
    print("camera  maximum likelihood   posterior mean")
    for name, camera in cameras(13).items():
        trial = Trial(GAUSSIAN, camera, np.array([[6.5, 6.5, 0.0]]), 150, n, 13)
        mean, spread = posterior_means(trial)
        error = mean - trial.truth[:, :2]
        bound = np.sqrt(np.mean(trial.bound**2)) / PIXEL_NM
        print(
            f"{name:6s} {np.sqrt(np.mean(trial.error**2)) / bound / PIXEL_NM:8.3f} "
            f"{trial.z_score.std():8.3f} {np.sqrt(np.mean(error**2)) / bound:8.3f} "
            f"{(error / spread).std():8.3f}"
        )


def posterior_means(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the posterior of each place (n, 2), in pixels.

    Places are a grid of a fifth of a pixel, 3 pixels to either side of the fitted one, all equally
    probable before; photons and background, flat, are integrated by Laplace's approximation.
    """
    data = trial.data
    size = data.shape[1]
    offset = data.offset.astype(float).ravel()
    steps = np.linspace(-3, 3, 31)
    mean, spread = np.empty((2, len(data.counts), 2))
    for i, counts in enumerate(data.counts.reshape(len(data.counts), -1).astype(float)):
        x = trial.rows["x_nm"][i] / PIXEL_NM + steps
        y = trial.rows["y_nm"][i] / PIXEL_NM + steps
        shares = [np.diff(ndtr((np.arange(size + 1) - c[:, None]) / 1.3)) for c in (x, y)]
        light = np.einsum("ai,bj->abij", shares[1], shares[0]).reshape(-1, size**2) * data.scale
        basis = np.stack([light, np.full_like(light, data.scale)], axis=1)
        linear = np.tile([150.0, BACKGROUND], (len(light), 1))
        for _ in range(8):  # Fisher scoring of photons and background at each place
            model = np.maximum(np.einsum("pcn,pc->pn", basis, linear) + offset, 1e-3)
            information = np.einsum("pcn,pdn,pn->pcd", basis, basis, 1 / model)
            slope = np.einsum("pcn,pn->pc", basis, counts / model - 1)
            linear += np.linalg.solve(information, slope[..., None])[..., 0]
            linear = np.maximum(linear, 1e-3)
        model = np.maximum(np.einsum("pcn,pc->pn", basis, linear) + offset, 1e-3)
        log_p = (counts * np.log(model) - model).sum(axis=1)
        log_p -= 0.5 * np.linalg.slogdet(information)[1]
        p = np.exp(log_p - log_p.max())
        p = (p / p.sum()).reshape(len(y), len(x))
        for axis, (marginal, places) in enumerate(((p.sum(axis=0), x), (p.sum(axis=1), y))):
            mean[i, axis] = marginal @ places
            spread[i, axis] = np.sqrt(marginal @ (places - mean[i, axis]) ** 2)
    return mean, spread


if __name__ == "__main__":
    main()
