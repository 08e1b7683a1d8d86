import os

import requests

base_url = "https://api.removit.eu"
api_key = os.environ["REMOVIT_API_KEY"]
job_id = "019cdc54-2673-dc32-b9e5-6e1d36cc9e8a"

response = requests.get(
    f"{base_url}/api/v1/status",
    headers={"X-API-Key": api_key},
    params={"job_id": job_id},
)

data = response.json()
