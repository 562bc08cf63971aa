"""Input and output shared by the layers above: replayable bodies, verification, single flight, files, pages."""
