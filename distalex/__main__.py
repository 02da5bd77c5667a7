from distalex.cli.main import entry

entry()
