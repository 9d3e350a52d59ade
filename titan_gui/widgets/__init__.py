"""Small widgets that pages share. `history_chart` is the only one that imports pyqtgraph, and late."""
