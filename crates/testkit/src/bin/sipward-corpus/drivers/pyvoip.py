"""Registers, calls, takes calls."""
import os
import time

from pyVoIP.VoIP import InvalidStateError, VoIPPhone
from pyVoIP.SIP import SIPParseError  # Not before the other: they import each other.

host, port = os.environ["SERVER"].split(":")


def answer(call):
    try:
        call.answer()
        time.sleep(1)
        call.hangup()
    except InvalidStateError:
        pass


phone = VoIPPhone(
    host, int(port), "101", "Strong-101-Secret",
    myIP=os.environ["LOCAL"], callCallback=answer, sipPort=5071,
)
phone.start()
time.sleep(2)
for _ in range(4):
    try:
        call = phone.call("600")
        time.sleep(2)
        call.hangup()
    except (InvalidStateError, SIPParseError) as given_up:
        print(given_up)  # An OPTIONS where it waits for an answer is too much for it.
    time.sleep(3)
phone.stop()
os._exit(0)
