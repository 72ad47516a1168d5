"""Tables in columns: Parquet and Arrow."""
