"""The agent in parts: each owns some of its objects, and knows their order. `core/agent.py` puts the parts together.

A part is given what it needs, one by one; what lies in a part that is made later comes as a callable.
"""
