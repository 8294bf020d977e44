"""Modules for the package verifiers (https://github.com/PrimeIntellect-ai/verifiers, MIT), if it is installed."""
