docker run --name web -e X=$TWO -e Y="${TWO}" -e Z=a$ -e Q=\$HOME nginx
