"""The engine that computes on an Apache Spark cluster; needs `pip install moovitamix[spark]`."""
