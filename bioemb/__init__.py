"""bioemb: from raw PubMed to an evaluated biomedical text-embedding model.

Importing this package loads nothing heavy; the parts are imported by name
(`bioemb.losses`, `bioemb.mining`, `bioemb.data`, `bioemb.encoder`, `bioemb.trainer`, `bioemb.evaluation`).
"""

__version__ = "0.1.0"
