"""Names for containers that were given none: two words that sailors know."""

from __future__ import annotations

import os

_LEFT = """
able agile amber azure bold bonny brave bright brisk calm canny clear clever coral cosy deft eager early fair
fleet fond free gentle glad golden grand green hale handy happy hardy idle jolly keen kind light lively loyal
lucky mellow merry mighty misty neat nimble noble open pearly plain polite prime proud quick quiet rapid ready
rosy royal salty sandy sharp shiny silent silver smart snug sober solid spry stable steady stout sunny sure
swift tidy trim true vivid warm wise witty young zesty
"""
_RIGHT = """
albatross anchor anemone barge barque beacon bight binnacle boom bosun bowline breaker breeze brig buoy cabin
canoe capstan catamaran channel cleat clipper cod compass cove crab current cutter dinghy dolphin dory eddy
fender ferry frigate galleon galley gannet gull halyard harbour hatch heron island jetty jib junk
kayak keel ketch lagoon lantern lighthouse marina marlin mast mizzen mooring oar osprey outrigger paddle
pelican petrel pier pilot plover porpoise prow puffin quay raft reef rigging rudder sail schooner seal sextant
shoal skiff skipper sloop spar spinnaker squall starfish stern surf swell tender tern tide tiller transom
trawler trimaran tug turtle walrus wave whale wharf yacht yawl
"""


def invent() -> str:
    """Such as ``brisk_ketch_1f3``: hardly ever taken."""
    random = os.urandom(4)
    left, right = _LEFT.split(), _RIGHT.split()
    return f"{left[random[0] % len(left)]}_{right[random[1] % len(right)]}_{random[2:].hex()}"
