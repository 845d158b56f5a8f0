"""beta-registry: know every Anthropic API beta, and serve header strings that are valid now."""

__version__ = "0.1.0"
