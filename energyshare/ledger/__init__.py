"""What both chains say, put into words: records, wallets, transfers, and the audit of their laws."""
