document.querySelector("#clock").textContent = clock();
