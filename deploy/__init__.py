"""What puts SeeFood102 on AWS, and what looks beforehand whether it would come up."""
