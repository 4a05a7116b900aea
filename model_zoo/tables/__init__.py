"""Facts about every model of timm and torchvision, worked out once and shipped as CSV, so that search needs neither library."""
