"""torch.nn.functional: what is bound here comes from the op catalog and from :mod:`gradwire.functions`."""
