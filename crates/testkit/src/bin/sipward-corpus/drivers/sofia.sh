# Asks for options over UDP and TCP, and for the address behind a NAT as keep-alives do.
for turn in 1 2 3; do
    for number in 101 600; do
        sip-options "sip:$number@$SERVER"
        sip-options --from="sip:monitor@$LOCAL" "sip:$number@$SERVER;transport=tcp"
    done
    timeout 10 stunc "$SERVER" -b
done
exit 0
