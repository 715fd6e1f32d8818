"""Registers, calls, takes calls."""
import os
import time

from rfcvoip.VoIP import InvalidStateError, VoIPPhone

host, port = os.environ["SERVER"].split(":")


def answer(call):
    try:
        call.answer()
        time.sleep(1)
        call.hangup()
    except InvalidStateError:
        pass


for sip_port in [5072, 5082]:
    phone = VoIPPhone(
        host, int(port), "101", "Strong-101-Secret",
        myIP=os.environ["LOCAL"], callCallback=answer, sipPort=sip_port,
    )
    phone.start()
    time.sleep(2)
    for number in ["600", "600", "999"]:
        call = phone.call(number)
        time.sleep(2)
        try:
            call.hangup()
        except InvalidStateError:
            pass
        time.sleep(3)
    phone.stop()
os._exit(0)
