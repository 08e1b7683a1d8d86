"""The routes, by subject. Handlers read requests and shape answers; rooms behind them decide."""
