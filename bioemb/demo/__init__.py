"""The offline demonstration's ingredients: a generated corpus, shaped like PubMed and PMC, and a small fresh encoder.

Everything here is made up by a seed. It shows the whole path at work; it measures nothing about real biomedical text.
"""
