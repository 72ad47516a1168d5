"""`python -m qarib_tasks.cli`."""

from qarib_tasks.cli.main import main

if __name__ == "__main__":
    main()
