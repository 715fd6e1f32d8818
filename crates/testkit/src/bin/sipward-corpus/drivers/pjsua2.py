"""A softphone that calls itself as a device does: registers, calls, takes calls, subscribes to
messages waiting and to presence, writes a message; keep-alives every five seconds.

usage: pjsua2.py USER-AGENT EXTENSION PORT"""
import os
import sys
import time

import pjsua2 as pj

user_agent, extension, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = os.environ["SERVER"]


class Call(pj.Call):
    pass


class Account(pj.Account):
    calls = []

    def onIncomingCall(self, incoming):
        call = Call(self, incoming.callId)
        self.calls.append(call)
        answer = pj.CallOpParam()
        answer.statusCode = 180
        call.answer(answer)
        answer.statusCode = 200
        call.answer(answer)


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.userAgent = user_agent
config.uaConfig.threadCnt = 0
config.logConfig.level = 3
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.port = port
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
endpoint.transportCreate(pj.PJSIP_TRANSPORT_TCP, transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()


def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        endpoint.libHandleEvents(50)


def log_in(suffix):
    account = pj.AccountConfig()
    account.idUri = f'"Anna Example" <sip:{extension}@{server}{suffix}>'
    account.regConfig.registrarUri = f"sip:{server}{suffix}"
    account.regConfig.timeoutSec = 300
    account.sipConfig.authCreds.append(
        pj.AuthCredInfo("digest", "*", extension, 0, f"Strong-{extension}-Secret")
    )
    account.natConfig.udpKaIntervalSec = 5
    account.mwiConfig.enabled = True
    opened = Account()
    opened.create(account)
    wait(2)
    return opened


def call(account, number, suffix, seconds):
    one = Call(account)
    try:
        one.makeCall(f"sip:{number}@{server}{suffix}", pj.CallOpParam(True))
    except pj.Error as refused:
        print(refused)
    wait(seconds)
    if one.isActive():
        one.hangup(pj.CallOpParam())
        wait(1)
    account.calls.append(one)


kept = []
for suffix in ["", ";transport=tcp"]:
    account = log_in(suffix)
    kept.append(account)
    call(account, "600", suffix, 2)
    call(account, "999", suffix, 1)
    buddy = pj.BuddyConfig()
    buddy.uri = f"sip:102@{server}{suffix}"
    buddy.subscribe = True
    friend = pj.Buddy()
    friend.create(account, buddy)
    message = pj.SendInstantMessageParam()
    message.content = "good morning"
    friend.sendInstantMessage(message)
    wait(6)
    account.setRegistration(False)
    wait(1)
os._exit(0)
