"""Hosts: the only places of ``glv_core`` that know the program which runs the model, one folder each."""
