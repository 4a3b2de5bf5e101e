"""An object of one picture set into another, in four stages that can each be used alone.

`BackgroundAnalyzer` reads the scene, `ObjectExtractor` cuts the object out, `MaskGenerator` finds its place, and
`ObjectSynthesizer` sets it in. Each has a neural way, with weights, and a classical one, without weights or PyTorch.
"""
