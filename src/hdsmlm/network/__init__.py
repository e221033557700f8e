"""The network: blocks, 3D U-Net, losses, schedule. Keras 3, ``keras.ops`` only.

Torch is the default backend; the environment variable ``KERAS_BACKEND`` chooses another one.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
