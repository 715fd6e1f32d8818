"""Calls as Home Assistant does, and answers calls."""
import asyncio
import os

from voip_utils import SIP_PORT
from voip_utils.sip import CallInfo, SdpInfo, SipDatagramProtocol, get_sip_endpoint

host, port = os.environ["SERVER"].split(":")
local = os.environ["LOCAL"]


class Phone(SipDatagramProtocol):
    def on_call(self, call_info: CallInfo):
        asyncio.get_running_loop().call_later(1, self.hang_up, call_info)

    def on_hangup(self, call_info: CallInfo):
        pass


async def main():
    loop = asyncio.get_running_loop()
    _, phone = await loop.create_datagram_endpoint(
        lambda: Phone(SdpInfo("homeassistant", 1, "Home Assistant", "2026.5")),
        local_addr=(local, SIP_PORT),
    )
    source = get_sip_endpoint(local, port=SIP_PORT, username="trusted")
    for number in range(6):
        target = get_sip_endpoint(host, port=int(port), username="600")
        call = phone.outgoing_call(source, target, 12000 + 2 * number)
        await asyncio.sleep(2)
        phone.cancel_call(call)
        await asyncio.sleep(1)


asyncio.run(main())
