# Registers, calls, asks a presence, writes a message; keep-alives once a second.
mkdir -p "$HOME/.local/share/linphone" "$HOME/.config/linphone"
cat >"$HOME/linphonerc" <<END
[sip]
sip_port=5067
keepalive_period=1000
use_ipv6=0
use_info=1
[net]
mtu=1500
[sound]
playback_dev_id=ANull: no sound
capture_dev_id=ANull: no sound
END
{
    sleep 2
    echo "register sip:101@$SERVER sip:$SERVER Strong-101-Secret"
    sleep 4
    for turn in 1 2; do
        echo "call sip:600@$SERVER"
        sleep 3
        echo "terminate"
        sleep 1
    done
    echo "friend add Ben sip:102@$SERVER"
    echo "chat sip:102@$SERVER good morning"
    sleep 2
    echo "call sip:999@$SERVER"
    sleep 2
    echo "autoanswer enable"
    sleep 12
    echo "unregister"
    sleep 2
    echo "quit"
} | linphonec -c "$HOME/linphonerc"
