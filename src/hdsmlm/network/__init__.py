"""The network: blocks, 3D U-Net, losses, schedule. Keras 3, ``keras.ops`` only."""
