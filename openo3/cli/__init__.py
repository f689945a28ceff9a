"""The command `openo3`: one module per subcommand, listed in `openo3.cli.main`."""
