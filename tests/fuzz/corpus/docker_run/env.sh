docker run \
  --name web \
  -e A=1 -e=B=2 -eC="x y" --env A=3 -e HOME \
 nginx # end
