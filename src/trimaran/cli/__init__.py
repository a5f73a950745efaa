"""The trimaran command: one module a command, imported when that command runs.

To add a command ``frobnicate``:

1. Write ``cli/frobnicate.py`` with a :class:`~trimaran.cli.options.Command` named ``COMMAND``::

       from trimaran.cli.options import Argument, Command, Option

       def run(context: Context, args: Arguments) -> int | None:
           engine = context.engine()                       # the library, opened on --root
           for name in args.container:                     # many=True: a list
               context.print(engine.get(name).frobnicate(hard=args.hard))
           return None                                     # the exit code; None is 0

       COMMAND = Command(
           run,
           arguments=[Argument("CONTAINER", many=True)],
           options=[Option("-f", "--hard", help="Do it hard")],
           examples=[("frobnicate web", "Frobnicate the container web")],
       )

2. Name it in :data:`trimaran.cli.registry.COMMANDS`, with its one-line summary; two words (``"network
   create"``) make it a verb of a noun. Other names for it go to ``ALIASES``.

Errors are raised as :class:`~trimaran.errors.TrimaranError`: the frame prints them on one line and exits
with their ``exit_code``. Tables, ``--format`` and JSON come from :mod:`trimaran.cli.output`; add
``*LIST_OPTIONS`` to a command that lists. Import at the top what is needed to declare the command, the rest
where it is used: the time that a command takes to start counts. No argparse, json, re or dataclasses at
the top of a module.
"""
