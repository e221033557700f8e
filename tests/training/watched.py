"""A short run with its curve of losses, step by step."""

from hdsmlm.training.loop import Keeper
from hdsmlm.training.trainer import Trainer, TrainingLimits


def ignore(metrics, step):
    pass


def varied(config, **training):
    """Return the run with other training fields: clipping, moving average and Tversky all work."""
    loss = config.training.loss.model_copy(update={"tversky_weight": 0.3})
    schedule = config.training.schedule.model_copy(update={"learning_rate": 0.01})
    values = {"loss": loss, "schedule": schedule, "clip_norm": 0.02, "ema_momentum": 0.9}
    return config.model_copy(
        update={"training": config.training.model_copy(update={**values, **training})}
    )


class Watched(Trainer):
    """Remembers the loss of every step."""

    def run(self, limits=None):
        """Train; ``losses`` are the means since the last validation, as Keras reports them."""
        self.losses = []
        own = Keeper.on_train_batch_end

        def listen(keeper, batch, logs=None):
            self.losses.append(float(logs["loss"]))
            own(keeper, batch, logs)

        Keeper.on_train_batch_end = listen
        try:
            return super().run(limits or TrainingLimits())
        finally:
            Keeper.on_train_batch_end = own
