"""Registers, and rings a number as a doorbell does."""
import asyncio
import os

import nanosip

# It knows no port but 5060.
host = os.environ["SERVER"].split(":")[0]
local = os.environ["LOCAL"]
password = nanosip.SIPAuthCreds("101", "Strong-101-Secret")


async def main():
    for number in ["102", "600", "102"]:
        register = nanosip.Register(
            f"sip:101@{host}", f"sip:101@{host}", local, password, f"sip:101@{local}:5074"
        )
        done = nanosip.TransactionProcessor(register, sip_server=host)
        try:
            await asyncio.wait_for(done.run(), 2)
        except asyncio.TimeoutError:
            pass  # It has no end of its own.
        ring = nanosip.Invite(f"sip:101@{host}", f"sip:{number}@{host}", local, password)
        try:
            await nanosip.async_call_and_cancel(ring, 3, sip_server=host)
        except OSError as refused:
            print(refused)


asyncio.run(main())
