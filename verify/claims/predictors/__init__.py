"""Claims on what is maximized in predictor space, and on other margins: robust, uniform. Read ``deep_networks.py``."""
