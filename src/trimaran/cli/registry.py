"""Every command by name: its module and its one-line summary, so that help imports none of them.

A name of two words is a verb of a noun (``network create``). A test holds table and modules together.
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Create a container, start it, and wait for it"),
    "create": ("create", "Create a container, to be started later"),
    "start": ("start", "Start containers"),
    "stop": ("stop", "Ask containers to end, and kill those that do not"),
    "restart": ("restart", "Stop containers and start them again"),
    "kill": ("kill", "Send a signal to containers"),
    "pause": ("pause", "Freeze the processes of containers"),
    "unpause": ("unpause", "Let frozen containers go on"),
    "wait": ("wait", "Wait until containers have exited, and print their exit codes"),
    "rename": ("rename", "Give a container another name"),
    "rm": ("rm", "Remove containers"),
    "exec": ("exec", "Run one more command in a running container"),
    "attach": ("attach", "Connect this terminal to a running container"),
    "logs": ("logs", "Show what a container has written"),
    "ps": ("ps", "List containers"),
    "inspect": ("inspect", "Show all of containers, as JSON"),
    "top": ("top", "Show the processes of a container"),
    "stats": ("stats", "Show what containers use, live"),
    "events": ("events", "Show what happens, live"),
    "port": ("port", "Show the published ports of a container"),
    "update": ("update", "Change the limits of containers"),
    "container prune": ("container_prune", "Remove the containers that do not run"),
    "bench": ("bench", "Measure how long containers of an image take on this machine"),
    "pull": ("pull", "Fetch images from their registries"),
    "push": ("push", "Send an image to a registry"),
    "images": ("images", "List images"),
    "rmi": ("rmi", "Remove images"),
    "tag": ("tag", "Give an image more names"),
    "login": ("login", "Log in to a registry"),
    "logout": ("logout", "Forget the login to a registry"),
    "save": ("save", "Write images to an archive"),
    "load": ("load", "Load images from an archive"),
    "import": ("import", "Make an image from the archive of a root file system"),
    "export": ("export", "Write a container's files as an archive"),
    "diff": ("diff", "Show how a container's files differ from its image's"),
    "commit": ("commit", "Make an image from a container's changes"),
    "history": ("history", "Show how an image was made"),
    "plan": ("plan", "Explain a bundle's configuration, or compare two"),
    "check": ("check", "Verify all images and layers, and heal them"),
    "image inspect": ("image_inspect", "Show all of images, as JSON"),
    "image mount": ("image_mount", "Mount an image's files on a directory, read-only"),
    "image prune": ("image_prune", "Remove images without a name, or all unused ones"),
    "image unmount": ("image_unmount", "Undo image mount"),
    "completion": ("completion", "Print the completion script of a shell"),
    "network connect": ("network_connect", "Put a running container on one more network"),
    "network create": ("network_create", "Create a network"),
    "network disconnect": ("network_disconnect", "Take a running container off a network"),
    "network inspect": ("network_inspect", "Show all of networks, as JSON"),
    "network ls": ("network_ls", "List networks"),
    "network prune": ("network_prune", "Remove the networks that no container is on"),
    "network reload": ("network_reload", "Make bridges, rules and the resolver again where they are missing"),
    "network rm": ("network_rm", "Remove networks"),
    "system df": ("system_df", "Show how much space is taken, and how much prune would free"),
    "system prune": ("system_prune", "Remove what is not used"),
    "version": ("version", "Say which version this is, and what it finds on this host"),
    "volume create": ("volume_create", "Create a volume"),
    "volume export": ("volume_export", "Write a volume's files as a tar archive"),
    "volume import": ("volume_import", "Put the files of a tar archive into a volume"),
    "volume inspect": ("volume_inspect", "Show all of volumes, as JSON"),
    "volume ls": ("volume_ls", "List volumes"),
    "volume prune": ("volume_prune", "Remove the volumes that no container uses"),
    "volume rm": ("volume_rm", "Remove volumes"),
}

ALIASES: dict[str, str] = {
    "image ls": "images",
    "image list": "images",
    "image rm": "rmi",
    "image umount": "image unmount",
    **{f"image {verb}": verb for verb in ("history", "import", "load", "pull", "push", "save", "tag")},
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "list": "ps",
    **{
        f"container {verb}": verb
        for verb in (
            *("attach", "create", "exec", "kill", "logs", "pause", "rename", "restart", "rm", "run", "start"),
            *("stop", "unpause", "wait", "inspect", "top", "stats", "port", "diff", "update"),
        )
    },
}
"""Other names: the left one does what the right one does."""

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Run",
        ("run", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rename", "rm"),
    ),
    (
        "Look into",
        ("ps", "logs", "exec", "attach", "inspect", "top", "stats", "events", "port", "diff", "update"),
    ),
    (
        "Images",
        (
            *("pull", "push", "images", "rmi", "tag", "save", "load", "import", "export", "commit"),
            *("history", "login", "logout"),
        ),
    ),
    ("Other", ("bench", "check", "completion", "plan", "version")),
)
"""The one-word commands in the order of ``trimaran --help``."""

GROUPS: dict[str, str] = {
    "image": "What containers are made of",
    "network": "Networks that containers are on",
    "system": "All of a root directory",
    "volume": "Directories that outlive containers",
    "container": "Containers",
}
"""The nouns of two-word commands, with what they are about."""


def find(words: list[str]) -> tuple[str, list[str]] | None:
    """The full name of the command that ``words`` begin with, and the words after it."""
    for count in (2, 1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if len(words) >= count and name in COMMANDS:
            return name, words[count:]
    return None
