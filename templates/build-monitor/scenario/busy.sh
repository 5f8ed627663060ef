# The scripted worker is busy until a message waits for it, or for half a minute: a model would be thinking.
i=0
while [ $i -lt 300 ]; do
    for letter in .orchestrate/stages/develop/mail/new/*; do
        [ -e "$letter" ] && exit 0
    done
    sleep 0.1
    i=$((i + 1))
done
