# Registers over UDP and TCP, calls, takes calls, subscribes to messages waiting and to presence.
folder=$HOME/baresip
mkdir -p "$folder"
cat >"$folder/config" <<END
sip_listen 0.0.0.0:5066
audio_source ausine,440
audio_player aufile,/dev/null
audio_alert aufile,/dev/null
module_path $(dirname "$(find /usr/lib -name g711.so -path '*baresip*')")
module g711.so
module ausine.so
module aufile.so
module stun.so
module_tmp uuid.so
module_tmp account.so
module_app contact.so
module_app menu.so
module_app mwi.so
module_app presence.so
END
for transport in udp tcp; do
    options="auth_pass=Strong-101-Secret;answermode=auto;regint=60;mwi=yes"
    echo "\"Anna Example\" <sip:101@$SERVER;transport=$transport>;$options" >"$folder/accounts"
    echo "\"Ben Example\" <sip:102@$SERVER>;presence=p2p" >"$folder/contacts"
    for number in 600 102 999; do
        baresip -f "$folder" -t 12 -e "/dial sip:$number@$SERVER;transport=$transport" || exit 1
    done
done
