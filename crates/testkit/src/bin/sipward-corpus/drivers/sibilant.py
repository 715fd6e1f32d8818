"""Registers, calls, takes calls; keep-alives once a second."""
import os
import threading
import time

from sibilant.voip import VoIPPhone

host, port = os.environ["SERVER"].split(":")
# Called while it calls, it may wait for ever.
threading.Timer(40, os._exit, [0]).start()
phone = VoIPPhone(
    "101", "Strong-101-Secret", host, int(port), display_name="Anna Example",
    local_host=os.environ["LOCAL"], local_port=5073,
    on_incoming_call=lambda call: True, sip_kwargs={"keep_alive_interval": 1},
)
phone.start()
time.sleep(1)
for number in ["600", "600", "999"]:
    try:
        call = phone.call(number)
        call.wait_answer(3)
        time.sleep(2)
        call.hangup()
    except Exception as refused:
        print(refused)
    time.sleep(2)
time.sleep(8)
phone.stop()
os._exit(0)
