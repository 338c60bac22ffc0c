
k:v‚z

keyv"	

key

keyz