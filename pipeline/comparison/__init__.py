"""Methods against each other by known classes, over several seeds."""
