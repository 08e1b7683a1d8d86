"""Is the upstream well? Its states, the evidence for them, and whether polls may go on."""
