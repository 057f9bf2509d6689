"""The ONNX file: opened, checked, annotated."""
