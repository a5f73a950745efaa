"""The resolver of named networks: names of containers, and the rest from the servers of the host.

One small process a root directory answers on each network's gateway; a rule leads questions there from
port 53, which stays free to be published. Whoever puts the first container on a network starts it, handing
over sockets that are bound already, so that nobody waits for it and no question is lost; it ends with the
last container. If it dies, the next change of a network starts it again.
"""
