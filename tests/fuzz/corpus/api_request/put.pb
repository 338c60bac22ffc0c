
keyvalue 