"""What colours the demo model's latents have, for the preview of a run: its VAE has others than Wan 2.1's.

Fitted to rendered clips by ``python -m training.demo.latent_colours``; the colours are within 0.06 of 1 of the decoded
frames', on average.
"""

#: Of each channel of a latent, as a sampler sees it: its part in red, green and blue, from -1 to 1.
FACTORS = (
    (0.0774, 0.0063, -0.0426),
    (-0.0603, 0.0279, -0.1002),
    (-0.0801, -0.0088, 0.1113),
    (0.2131, 0.1513, 0.1444),
    (0.0198, 0.0587, 0.0838),
    (-0.1000, -0.1288, -0.1261),
    (-0.0961, -0.1066, -0.0564),
    (-0.1447, -0.1421, -0.0985),
    (0.0507, -0.0614, -0.0604),
    (-0.0754, 0.0416, -0.0002),
    (0.0061, -0.0341, 0.0839),
    (0.2032, 0.1717, 0.1725),
    (0.0677, 0.0578, 0.0945),
    (-0.0041, -0.0139, 0.0169),
    (0.0010, -0.0610, -0.0433),
    (-0.0419, -0.0910, -0.0352),
)
BIAS = (-0.0219, -0.0231, -0.0067)
