"""The stream processor: the pure core, the Faust apps, the batched transport, and the outputs."""
