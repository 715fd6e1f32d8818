# Registers, calls, takes calls, asks for messages waiting, pings with OPTIONS.
folder=$HOME/.twinkle
mkdir -p "$folder"
cat >"$folder/phone.cfg" <<END
user_name=101
user_domain=$SERVER
user_display=Anna Example
auth_name=101
auth_pass=Strong-101-Secret
registration_time=30
register_at_startup=yes
mwi_sollicited=yes
mwi_subscription_time=60
mwi_vm_address=101
pres_publish_startup=yes
END
cat >"$folder/twinkle.sys" <<END
sip_udp_port=5068
sip_tcp_port=5068
dev_ringtone=null:
dev_speaker=null:
dev_mic=null:
END
{
    sleep 3
    for number in 600 102 999; do
        echo "call $number"
        sleep 3
        echo "bye"
        sleep 1
    done
    echo "options sip:$SERVER"
    echo "presence -s online"
    echo "message sip:102@$SERVER good morning"
    sleep 1
    for turn in 1 2 3 4; do
        sleep 3
        echo "answer"
    done
    echo "register"
    sleep 1
    echo "deregister -a"
    sleep 1
    echo "quit"
} | twinkle-console phone.cfg
